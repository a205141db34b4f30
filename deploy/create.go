package deploy

import "apron/operation"

// create is CREATE_SERVICE: the first deployment of a new service. When it fails the service stays,
// CREATE_FAILED, with its logs; nothing of it runs.
func (d *deployer) create() operation.Plan {
	return d.rollout(d.endRollout("Service creation completed successfully.",
		"Service creation failed. For details, see service logs."))
}
