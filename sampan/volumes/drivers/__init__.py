"""The volume drivers: ``local`` is ours, every other name is a plugin's."""
