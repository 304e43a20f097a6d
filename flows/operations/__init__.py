"""What a Prefect server needs for t2i, set and looked at: pools, automations, deployments; runs that are down."""
