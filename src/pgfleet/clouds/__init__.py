"""The APIs of Amazon RDS and Google Cloud SQL, as discovery and provisioning both ask them."""
