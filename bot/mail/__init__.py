"""Mail in (sources, messages, series) and mail out (the reply)."""
