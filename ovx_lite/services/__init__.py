"""What joins the pure packages and the store: the committer, the sender, jobs, imports, exports, backups."""
