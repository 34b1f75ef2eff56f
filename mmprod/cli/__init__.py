"""The `mmprod` command: one command a stage. Heavy imports wait until a command needs them."""
