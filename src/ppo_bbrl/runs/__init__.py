"""What a run leaves behind: its folder, metrics, policies, videos."""
