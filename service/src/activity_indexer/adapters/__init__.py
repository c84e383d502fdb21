"""The outside world behind the ports: servers, and their fakes."""
