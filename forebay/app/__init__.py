"""The use cases, over the ports. Each change of the store is one transaction; nothing outside is called within one."""
