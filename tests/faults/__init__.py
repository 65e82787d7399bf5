"""Processes, brokers, databases, disks, clocks and links broken at random, and all ends right."""
