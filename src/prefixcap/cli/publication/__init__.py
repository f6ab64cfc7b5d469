"""The commands of `prefixcap.publication`."""
