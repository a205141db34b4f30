package apron_test

import (
	"slices"
	"strings"
	"testing"

	"apron"
)

func TestCustomDomainValidate(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tc := range []struct {
		domain string
		www    bool
		want   string // part of the fault's message; empty: valid
	}{
		{"example.com", true, ""},
		{"shop.EXAMPLE.com", true, ""},
		{"*.example.com", false, ""},
		{"*.a.example.com", false, ""},
		{"xn--bcher-kva.example", false, ""},
		{"1.2.example", false, ""},
		{long + ".com", false, ""},
		{"notapron.example.org", false, ""},
		{"*.example.com", true, "EnableWWWSubdomain"},
		{"login*.example.com", false, "*.<domain>"},
		{"*.*.example.com", false, "*.<domain>"},
		{"a.*.example.com", false, "*.<domain>"},
		{"*", false, "*.<domain>"},
		{"com", false, "Invalid domain name"},
		{"*.com", false, "Invalid domain name"},
		{"", false, "Invalid domain name"},
		{".example.com", false, "Invalid domain name"},
		{"example.com.", false, "Invalid domain name"},
		{"a..example.com", false, "Invalid domain name"},
		{"-a.example.com", false, "Invalid domain name"},
		{"a-.example.com", false, "Invalid domain name"},
		{"a_b.example.com", false, "Invalid domain name"},
		{long + "a.com", false, "Invalid domain name"},
		{strings.Repeat("a.", 126) + "com", false, "Invalid domain name"},
		{"192.0.2.1", false, "Invalid domain name"},
		{"apron.example.net", false, "belongs to"},
		{"x.us-east-1.Apron.example.net", false, "belongs to"},
		{"*.apron.example.net", false, "belongs to"},
	} {
		err := apron.CustomDomain{Domain: tc.domain, EnableWWW: tc.www}.Validate("apron.example.net")
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.domain, err)
		}
		if tc.want != "" && (apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want an invalid fault with %q", tc.domain, err, tc.want)
		}
	}
}

func FuzzCustomDomainValidate(f *testing.F) {
	for _, seed := range []string{"example.com", "*.example.com", "..", "*", "a\x00.com", "192.0.2.1", "É.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, domain string) {
		d := apron.CustomDomain{Domain: domain}
		if d.Validate("apron.example.net") != nil {
			return
		}
		if len(d.Key()) > 255 || strings.Trim(d.Key(), "abcdefghijklmnopqrstuvwxyz0123456789.-*") != "" ||
			strings.Count(domain, "*") > 1 || !strings.Contains(domain, ".") || strings.Contains(domain, "..") {
			t.Errorf("%q is valid", domain)
		}
	})
}

func TestCustomDomainTransitions(t *testing.T) {
	all := []apron.CustomDomainStatus{
		apron.CustomDomainCreating, apron.CustomDomainCreateFailed, apron.CustomDomainActive, apron.CustomDomainDeleting,
		apron.CustomDomainDeleteFailed, apron.CustomDomainPending, apron.CustomDomainBinding,
	}
	table := map[apron.CustomDomainStatus][]apron.CustomDomainStatus{
		apron.CustomDomainCreating:     {apron.CustomDomainPending, apron.CustomDomainCreateFailed, apron.CustomDomainDeleting},
		apron.CustomDomainPending:      {apron.CustomDomainBinding, apron.CustomDomainActive, apron.CustomDomainCreateFailed, apron.CustomDomainDeleting},
		apron.CustomDomainBinding:      {apron.CustomDomainActive, apron.CustomDomainCreateFailed, apron.CustomDomainDeleting},
		apron.CustomDomainActive:       {apron.CustomDomainDeleting},
		apron.CustomDomainCreateFailed: {apron.CustomDomainDeleting},
		apron.CustomDomainDeleteFailed: {apron.CustomDomainDeleting},
		apron.CustomDomainDeleting:     {apron.CustomDomainDeleteFailed},
	}
	for _, from := range append(all, "other") {
		for _, to := range all {
			if got, want := from.CanBecome(to), from == to || slices.Contains(table[from], to); got != want {
				t.Errorf("%s to %s: %v", from, to, got)
			}
		}
	}
}
