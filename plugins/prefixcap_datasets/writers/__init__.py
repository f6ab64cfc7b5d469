"""Write data sets in the formats that the readers of this plugin read."""
