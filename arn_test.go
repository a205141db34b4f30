package apron_test

import (
	"strings"
	"testing"

	"apron"
)

func TestValidRegion(t *testing.T) {
	for region, want := range map[string]bool{
		"us-east-1": true, "eu": true, "1": true, "moon-base-7": true, strings.Repeat("a", 63): true,
		"": false, "US-EAST-1": false, "a.b": false, "a_b": false, "-a": false, "a-": false, "a b": false, "ä": false,
		strings.Repeat("a", 64): false,
	} {
		if got := apron.ValidRegion(region); got != want {
			t.Errorf("ValidRegion(%q) is %v, want %v", region, got, want)
		}
	}
}
