"""Figures of the service: what carrying a job costs, what idling costs, how it scales."""
