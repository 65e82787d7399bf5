"""The arrows between the nouns: scope, plan, findings, verdict."""
