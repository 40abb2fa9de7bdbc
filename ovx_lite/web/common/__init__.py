"""What endpoints of the API and pages of the UI share."""
