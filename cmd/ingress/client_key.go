package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	apipb "github.com/m3o/ingress/proto/api"
)

// Addresses of the two services in the package api.
const (
	keysService    = "api/keys"
	tenantsService = "api/tenants"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key and print it, this once."`
	List   keyListCmd   `cmd:"" help:"Show the keys that work, without their secrets."`
	Revoke keyRevokeCmd `cmd:"" help:"End a key, for good."`
}

func (keyCmd) Help() string {
	return examples("ingress key create --scope url", "ingress key list")
}

// ofTenant names the tenant a key belongs to.
type ofTenant struct {
	Tenant string `placeholder:"ID" help:"The tenant's id; your own unless given. Another one needs the scope operator."`
}

type keyCreateCmd struct {
	Scope       []string `required:"" placeholder:"SCOPE" help:"What it may do, repeatable: service names, * for all services, operator, backend, resolve."`
	Description string   `help:"A note on what it is for."`
	ofTenant    `embed:""`
}

func (keyCreateCmd) Help() string {
	return "The key alone goes to stdout, so that a script can catch it.\n\n" + examples(
		"ingress key create --scope url --description 'newsletter links'",
		"ingress key create --scope '*' --scope backend",
		"M3O_API_TOKEN=$(ingress key create --scope app,function)",
	)
}

func (cmd *keyCreateCmd) Run(ctx context.Context, c *client) error {
	req := &apipb.GenerateRequest{Scopes: cmd.Scope, Description: cmd.Description, Tenant: cmd.Tenant}
	res := &apipb.GenerateResponse{}
	return c.do(ctx, keysService, "generate", req, res, func() error {
		if err := c.printLine(res.ApiKey); err != nil {
			return err
		}
		c.say("This is key %s. It is not shown again.", res.ApiKeyId)
		return nil
	})
}

type keyListCmd struct {
	ofTenant `embed:""`
}

func (keyListCmd) Help() string {
	return examples("ingress key list", "ingress key list --tenant 4f1c2a", "ingress key list --json")
}

func (cmd *keyListCmd) Run(ctx context.Context, c *client) error {
	res := &apipb.ListResponse{}
	return c.do(ctx, keysService, "list", &apipb.ListRequest{Tenant: cmd.Tenant}, res, func() error {
		keys := &table{header: []string{"ID", "CREATED", "LAST SEEN", "SCOPES", "DESCRIPTION"}}
		for _, key := range res.ApiKeys {
			keys.add(key.Id, c.unixMinute(key.CreatedTime), c.unixMinute(key.LastSeen), strings.Join(key.Scopes, ","), key.Description)
		}
		return c.printTable(keys, "no keys yet; make one with: ingress key create --scope url")
	})
}

type keyRevokeCmd struct {
	ID       string `arg:"" name:"id" help:"The key's id, as key list shows it."`
	ofTenant `embed:""`
}

func (keyRevokeCmd) Help() string {
	return examples("ingress key revoke key_6khewoj2soidpmt35gn4xvkvon")
}

// Run refuses a key in place of its id: process lists have then shown it, and it
// must not be sent around as well.
func (cmd *keyRevokeCmd) Run(ctx context.Context, c *client) error {
	if strings.HasPrefix(cmd.ID, "m3o_") {
		return usagef("that is a key, not the id of one; ingress key list shows the ids")
	}
	req := &apipb.RevokeRequest{Id: cmd.ID, Tenant: cmd.Tenant}
	return c.do(ctx, keysService, "revoke", req, &apipb.RevokeResponse{}, c.confirm("key %s is revoked", cmd.ID))
}

type tenantCmd struct {
	Create  tenantCreateCmd  `cmd:"" help:"Make a tenant and its first key."`
	List    tenantListCmd    `cmd:"" help:"Show all tenants and how much they may have."`
	Disable tenantDisableCmd `cmd:"" help:"End what a tenant's keys may do; what it published stays."`
	Enable  tenantEnableCmd  `cmd:"" help:"Undo disable."`
	Quotas  tenantQuotasCmd  `cmd:"" help:"Show or change how much a tenant may have."`
}

func (tenantCmd) Help() string {
	return examples("ingress tenant create acme", "ingress tenant quotas acme --apps 500")
}

type tenantCreateCmd struct {
	Name string `arg:"" help:"Its name: lower-case letters, digits and -."`
}

func (tenantCreateCmd) Help() string { return examples("ingress tenant create acme") }

func (cmd *tenantCreateCmd) Run(ctx context.Context, c *client) error {
	res := &apipb.CreateResponse{}
	return c.do(ctx, tenantsService, "create", &apipb.CreateRequest{Name: cmd.Name}, res, func() error {
		c.say("The key is not shown again.")
		return c.printProperties([]property{
			{"ID", res.GetTenant().GetId()},
			{"NAME", res.GetTenant().GetName()},
			{"KEY", res.GetApiKey()},
		})
	})
}

type tenantListCmd struct{}

func (tenantListCmd) Help() string {
	return examples("ingress tenant list", "ingress tenant list --json")
}

func (cmd *tenantListCmd) Run(ctx context.Context, c *client) error {
	res := &apipb.ListTenantsResponse{}
	return c.do(ctx, tenantsService, "list", &apipb.ListTenantsRequest{}, res, func() error {
		tenants := &table{header: []string{"ID", "NAME", "DISABLED", "APPS", "FUNCTIONS", "LINKS", "KEYS", "VERSIONS", "REQUESTS", "CREATED"}}
		for _, t := range res.Tenants {
			q := t.GetQuotas()
			tenants.add(t.Id, t.Name, yesNo(t.Disabled), quota(q.GetApps()), quota(q.GetFunctions()), quota(q.GetLinks()),
				quota(q.GetKeys()), byteQuota(q.GetVersionBytes()), rate(q), c.unixStamp(t.Created))
		}
		return c.printTable(tenants, "no tenants yet; make one with: ingress tenant create NAME")
	})
}

// quota shows a quota, of which zero means the default.
func quota(n int64) string {
	if n == 0 {
		return "default"
	}
	return count(n)
}

// byteQuota shows a quota of bytes in the largest unit that leaves it exact.
func byteQuota(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		size := int64(1) << (30 - 10*i)
		if n != 0 && n%size == 0 {
			return count(n/size) + " " + unit
		}
	}
	return quota(n)
}

// rate shows the two request quotas of a key.
func rate(q *apipb.Quotas) string {
	if q.GetRequestsPerSecond() == 0 && q.GetBurst() == 0 {
		return "default"
	}
	return fmt.Sprintf("%s/s, burst %s", quota(q.GetRequestsPerSecond()), quota(q.GetBurst()))
}

type tenantDisableCmd struct {
	Tenant string `arg:"" help:"The tenant's id or name."`
}

func (tenantDisableCmd) Help() string {
	return "Its keys stop working at once. Its apps, functions and links stay reachable.\n\n" + examples("ingress tenant disable acme")
}

func (cmd *tenantDisableCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, tenantsService, "disable", &apipb.DisableRequest{Tenant: cmd.Tenant}, &apipb.DisableResponse{},
		c.confirm("tenant %s is disabled", cmd.Tenant))
}

type tenantEnableCmd struct {
	Tenant string `arg:"" help:"The tenant's id or name."`
}

func (tenantEnableCmd) Help() string { return examples("ingress tenant enable acme") }

func (cmd *tenantEnableCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, tenantsService, "enable", &apipb.EnableRequest{Tenant: cmd.Tenant}, &apipb.EnableResponse{},
		c.confirm("tenant %s is enabled", cmd.Tenant))
}

type tenantQuotasCmd struct {
	Tenant            string `arg:"" help:"The tenant's id or name."`
	Apps              *int64 `placeholder:"N" help:"Apps."`
	Functions         *int64 `placeholder:"N" help:"Functions."`
	Links             *int64 `placeholder:"N" help:"Short links."`
	Keys              *int64 `placeholder:"N" help:"API keys."`
	VersionBytes      *int64 `placeholder:"N" help:"Bytes of deployed versions."`
	RequestsPerSecond *int64 `placeholder:"N" help:"Requests a second for each key."`
	Burst             *int64 `placeholder:"N" help:"Requests at once above that rate for each key."`
}

func (tenantQuotasCmd) Help() string {
	return "Without flags the quotas are shown. A quota that is not given stays; 0 stands for the default.\n\n" + examples(
		"ingress tenant quotas acme",
		"ingress tenant quotas acme --apps 500 --requests-per-second 1000 --burst 3000",
		"ingress tenant quotas acme --apps 0",
	)
}

// Run reads the quotas first, because the API replaces them whole.
func (cmd *tenantQuotasCmd) Run(ctx context.Context, c *client) error {
	tenant, err := c.findTenant(ctx, cmd.Tenant)
	if err != nil {
		return err
	}
	if !cmd.apply(tenant.Quotas) {
		return c.showQuotas(tenant.Quotas)
	}
	req := &apipb.SetQuotasRequest{Tenant: tenant.Id, Quotas: tenant.Quotas}
	return c.do(ctx, tenantsService, "setquotas", req, &apipb.SetQuotasResponse{}, func() error {
		return c.printQuotas(tenant.Quotas)
	})
}

// findTenant returns the tenant with an id or a name; an id counts first, as for
// the API. Its quotas are never nil.
func (c *client) findTenant(ctx context.Context, idOrName string) (*apipb.Tenant, error) {
	list := &apipb.ListTenantsResponse{}
	if err := c.platform.Call(ctx, tenantsService, "list", &apipb.ListTenantsRequest{}, list); err != nil {
		return nil, c.explain(ctx, err)
	}
	var found *apipb.Tenant
	for _, t := range list.Tenants {
		if t.Id == idOrName || (found == nil && t.Name == idOrName) {
			found = t
		}
	}
	if found == nil {
		return nil, &problem{text: "there is no tenant " + idOrName, hint: "See: ingress tenant list"}
	}
	if found.Quotas == nil {
		found.Quotas = &apipb.Quotas{}
	}
	return found, nil
}

// apply changes the quotas for which a flag was given and reports whether there
// was any.
func (cmd *tenantQuotasCmd) apply(q *apipb.Quotas) bool {
	changed := false
	for _, one := range []struct {
		flag *int64
		to   *int64
	}{
		{cmd.Apps, &q.Apps},
		{cmd.Functions, &q.Functions},
		{cmd.Links, &q.Links},
		{cmd.Keys, &q.Keys},
		{cmd.VersionBytes, &q.VersionBytes},
		{cmd.RequestsPerSecond, &q.RequestsPerSecond},
		{cmd.Burst, &q.Burst},
	} {
		if one.flag != nil {
			*one.to, changed = *one.flag, true
		}
	}
	return changed
}

func (c *client) showQuotas(q *apipb.Quotas) error {
	if !c.json {
		return c.printQuotas(q)
	}
	reply, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(q)
	if err != nil {
		return fmt.Errorf("write the quotas: %w", err)
	}
	return c.printJSON(reply)
}

func (c *client) printQuotas(q *apipb.Quotas) error {
	return c.printProperties([]property{
		{"APPS", quota(q.GetApps())},
		{"FUNCTIONS", quota(q.GetFunctions())},
		{"LINKS", quota(q.GetLinks())},
		{"KEYS", quota(q.GetKeys())},
		{"VERSIONS", byteQuota(q.GetVersionBytes())},
		{"REQUESTS", rate(q)},
	})
}
