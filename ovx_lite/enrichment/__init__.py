"""From a hit to an event: user agent, traffic source, country, access-log lines."""
