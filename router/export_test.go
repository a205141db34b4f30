package router

// StandardOnly has a router answer HTTP/1 with the standard library's server: the judge of the relay.
func StandardOnly(c *Config) { c.standardOnly = true }

// MachineLife is what lifeFile holds where the kept table's instances are alive.
func MachineLife() (string, error) { return machineLife() }
