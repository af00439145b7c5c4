check:
	cargo check --all-targets
