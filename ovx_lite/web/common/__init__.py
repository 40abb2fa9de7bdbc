"""Code that the JSON endpoints and the web pages share."""
