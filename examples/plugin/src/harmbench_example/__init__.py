"""A template for plug-ins of harmbench: one component for each room, one file for each component."""
