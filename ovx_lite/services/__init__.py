"""What connects the pure packages with storage: group commit, webhook sender, jobs, imports, exports, backups."""
