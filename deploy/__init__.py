"""What turns the code into a running installation: images, topics, collector, dashboards, manifests."""
