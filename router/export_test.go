package router

// StandardOnly has a router answer HTTP/1 with the standard library's server: the judge of the relay.
func StandardOnly(c *Config) { c.standardOnly = true }
