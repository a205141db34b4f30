package apron_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"apron"
)

func TestVPCConnectorValidate(t *testing.T) {
	for _, tc := range []struct {
		subnets, groups []string
		want            string
	}{
		{[]string{"subnet-0a1b2c3d4e5f60718"}, []string{"sg-0a1b2c3d"}, ""},
		{[]string{"subnet-1", "subnet-2"}, nil, ""},
		{nil, nil, "at least one subnet"},
		{[]string{"subnet-1", "subnet-1"}, nil, "Duplicate subnet ID: subnet-1"},
		{[]string{"subnet-"}, nil, "Invalid subnet ID: subnet-"},
		{[]string{""}, nil, "Invalid subnet ID"},
		{[]string{"vpc-1"}, nil, "Invalid subnet ID: vpc-1"},
		{[]string{"subnet-\x00"}, nil, "Invalid subnet ID"},
		{[]string{"subnet-" + strings.Repeat("a", 51200)}, nil, "aaa..."},
		{[]string{"subnet-1"}, []string{"sg-1", "sg-2", "sg-1"}, "Duplicate security group ID: sg-1"},
		{[]string{"subnet-1"}, []string{"default"}, "Invalid security group ID: default"},
	} {
		err := apron.VPCConnector{Subnets: tc.subnets, SecurityGroups: tc.groups}.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%.40q, %q: %v, want %q", tc.subnets, tc.groups, err, tc.want)
		}
	}
}

func TestDefaultSecurityGroup(t *testing.T) {
	a := apron.DefaultSecurityGroup(apron.Scope{Account: "123456789012", Region: "us-east-1"})
	b := apron.DefaultSecurityGroup(apron.Scope{Account: "123456789012", Region: "us-east-2"})
	again := apron.DefaultSecurityGroup(apron.Scope{Account: "123456789012", Region: "us-east-1"})
	if a == b || a != again || !regexp.MustCompile(`^sg-[0-9a-f]{17}$`).MatchString(a) {
		t.Errorf("%s, %s, %s", a, b, again)
	}
}

func TestVPCIngressTransitions(t *testing.T) {
	all := []apron.VPCIngressStatus{
		apron.VPCIngressAvailable, apron.VPCIngressPendingCreation, apron.VPCIngressPendingUpdate, apron.VPCIngressPendingDeletion,
		apron.VPCIngressFailedCreation, apron.VPCIngressFailedUpdate, apron.VPCIngressFailedDeletion, apron.VPCIngressDeleted,
	}
	change := []apron.VPCIngressStatus{apron.VPCIngressPendingUpdate, apron.VPCIngressPendingDeletion}
	table := map[apron.VPCIngressStatus][]apron.VPCIngressStatus{
		apron.VPCIngressPendingCreation: {apron.VPCIngressAvailable, apron.VPCIngressFailedCreation},
		apron.VPCIngressPendingUpdate:   {apron.VPCIngressAvailable, apron.VPCIngressFailedUpdate},
		apron.VPCIngressPendingDeletion: {apron.VPCIngressDeleted, apron.VPCIngressFailedDeletion},
		apron.VPCIngressAvailable:       change,
		apron.VPCIngressFailedCreation:  change,
		apron.VPCIngressFailedUpdate:    change,
		apron.VPCIngressFailedDeletion:  {apron.VPCIngressPendingDeletion},
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := from.CanBecome(to), from == to || slices.Contains(table[from], to); got != want {
				t.Errorf("%s to %s: %v", from, to, got)
			}
		}
	}
}
