"""A workflow is read and judged before it costs anything. No network, no pods."""
