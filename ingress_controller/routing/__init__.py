"""Values become a RouteTable and Problems. Pure: the same values give the same table."""
