"""What embedding decides, without reading or writing anything."""
