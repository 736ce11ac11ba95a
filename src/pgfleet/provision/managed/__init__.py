"""What provisioning does alike at every managed database, whichever cloud runs it. A platform's room has the rest."""
