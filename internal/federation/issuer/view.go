package issuer

// URL returns iss of the issuer's tokens, also where a preset says it, of a valid
// definition.
func (d Definition) URL() string { return d.url() }
