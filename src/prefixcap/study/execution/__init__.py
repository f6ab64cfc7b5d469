"""Running, planning and pruning a study."""
