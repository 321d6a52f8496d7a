"""The six services, the chassis they run on, and the media functions they share."""
