package source

// ParsePointer is parsePointer.
func ParsePointer(text []byte) (oid string, size int64, ok bool) { return parsePointer(text) }
