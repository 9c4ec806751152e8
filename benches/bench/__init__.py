"""The parts of scripts/bench; benches/README.md says how it measures."""
