//! stub
use clap::Args;
#[derive(Debug, Clone, Args)]
pub struct ViewArgs {}
#[derive(Debug, Clone, Args)]
pub struct Export {}
