"""sluice-bench: scenarios, senders, measuring, reports. docs/bench.md is for its users."""
