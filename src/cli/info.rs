//! stub
use clap::Args;
#[derive(Debug, Clone, Args)]
pub struct Info {}
