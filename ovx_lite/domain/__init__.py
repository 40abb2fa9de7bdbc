"""The nouns and rules of web analytics, without I/O."""
