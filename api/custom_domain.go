package api

import (
	"context"
	"fmt"

	"apron"
	"apron/control"
)

// associateCustomDomain includes www. unless it is told not to (API reference,
// AssociateCustomDomain).
func (a *appRunner) associateCustomDomain(ctx context.Context, scope apron.Scope, in *AssociateCustomDomainRequest) (*AssociateCustomDomainResponse, error) {
	d, err := a.control.AssociateCustomDomain(ctx, scope, in.ServiceArn, in.DomainName, or(in.EnableWWWSubdomain, true))
	if err != nil {
		return nil, err
	}
	domain, err := only(d)
	return &AssociateCustomDomainResponse{
		DNSTarget: d.Service.Host, ServiceArn: d.Service.ARN().String(), CustomDomain: domain, VpcDNSTargets: each(d.Ingress, wireDNSTarget),
	}, err
}

func (a *appRunner) describeCustomDomains(ctx context.Context, scope apron.Scope, in *DescribeCustomDomainsRequest) (*DescribeCustomDomainsResponse, error) {
	list := listing{action: "DescribeCustomDomains", scope: scope, filter: in.ServiceArn}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	d, after, err := a.control.CustomDomains(ctx, scope, in.ServiceArn, page)
	if err != nil {
		return nil, err
	}
	return &DescribeCustomDomainsResponse{
		DNSTarget: d.Service.Host, ServiceArn: d.Service.ARN().String(), CustomDomains: each(d.Domains, wireCustomDomain),
		VpcDNSTargets: each(d.Ingress, wireDNSTarget), NextToken: list.next(after),
	}, nil
}

// disassociateCustomDomain always has a list of validation records, unlike the other two: clients
// go through it without looking whether it is there.
func (a *appRunner) disassociateCustomDomain(ctx context.Context, scope apron.Scope, in *DisassociateCustomDomainRequest) (*DisassociateCustomDomainResponse, error) {
	d, err := a.control.DisassociateCustomDomain(ctx, scope, in.ServiceArn, in.DomainName)
	if err != nil {
		return nil, err
	}
	domain, err := only(d)
	if domain.CertificateValidationRecords == nil {
		domain.CertificateValidationRecords = []CertificateValidationRecord{}
	}
	return &DisassociateCustomDomainResponse{
		DNSTarget: d.Service.Host, ServiceArn: d.Service.ARN().String(), CustomDomain: domain, VpcDNSTargets: each(d.Ingress, wireDNSTarget),
	}, err
}

// only returns the one domain of an answer about one.
func only(d control.CustomDomains) (CustomDomain, error) {
	if len(d.Domains) != 1 {
		return CustomDomain{}, fmt.Errorf("%d domains in place of one", len(d.Domains))
	}
	return wireCustomDomain(d.Domains[0]), nil
}

// wireCustomDomain leaves the validation records out while there are none yet. The status is in
// lower case: Terraform waits for it so.
func wireCustomDomain(d apron.CustomDomain) CustomDomain {
	out := CustomDomain{DomainName: d.Domain, EnableWWWSubdomain: d.EnableWWW, Status: string(d.Status)}
	if d.Records != nil {
		out.CertificateValidationRecords = each(d.Records, wireValidationRecord)
	}
	return out
}

func wireValidationRecord(r apron.ValidationRecord) CertificateValidationRecord {
	return CertificateValidationRecord{Name: optional(r.Name), Type: optional(r.Type), Value: optional(r.Value), Status: optional(r.Status)}
}

// wireDNSTarget is where a custom domain is to lead to inside a private network.
func wireDNSTarget(v apron.VPCIngressConnection) VpcDNSTarget {
	return VpcDNSTarget{VpcIngressConnectionArn: optional(v.ARN.String()), VpcId: optional(v.VPCID), DomainName: optional(v.Host)}
}
