package issuer

// The parameters of the presets. Their rules are in presets/NAME.yaml.

var githubPreset = Preset{
	Name: "github", About: "GitHub Actions, also of GitHub Enterprise Server and with data residency",
	Source: "https://docs.github.com/en/actions/reference/security/oidc",
	Parameters: []Parameter{
		{Name: "owner_id", About: "the number of the owner (gh api users/OWNER --jq .id)", Example: "123456", Required: true, Pattern: number},
		{Name: "repository_ids", About: "the numbers of the repositories (gh api repos/OWNER/NAME --jq .id)", Example: "1296269,1300192", Many: true, Pattern: number},
		{Name: "events", About: "what may have started the workflow; pull_request and pull_request_target let strangers' code in", Example: "push,schedule", Default: "push,workflow_dispatch,release", Many: true, Pattern: word},
		{Name: "job_workflow_refs", About: "the workflows that the job may be of, with @ and their exact ref", Example: "acme/ci/.github/workflows/build.yml@refs/tags/v3", Many: true, Pattern: `[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]+@[A-Za-z0-9_./+-]+`},
		{Name: "issuer", About: "the issuer of an own server, of data residency or of an enterprise", Example: "https://github.example.com/_services/token",
			Default: "https://token.actions.githubusercontent.com",
			Pattern: `https://token\.actions\.githubusercontent\.com(/[A-Za-z0-9-]+)?|https://token\.actions\.[a-z0-9-]+\.ghe\.com|https://[a-z0-9.-]+(:[0-9]+)?/_services/token`},
	},
}

var gitlabPreset = Preset{
	Name: "gitlab", About: "GitLab CI/CD, gitlab.com or an own instance",
	Source: "https://docs.gitlab.com/ci/secrets/id_token_authentication/",
	OneOf:  []string{"project_ids", "namespace_ids"},
	Parameters: []Parameter{
		{Name: "project_ids", About: "the numbers of the projects", Example: "22,23", Many: true, Pattern: number},
		{Name: "namespace_ids", About: "the numbers of the groups or users that own the projects", Example: "72", Many: true, Pattern: number},
		{Name: "sources", About: "what may have started the pipeline; merge_request_event lets code in that nobody has merged", Example: "push,schedule", Default: "push,web", Many: true, Pattern: word},
		{Name: "without_job_project", About: "whether a token may lack job_project_id, as those of an older GitLab do: nothing then tells the job of a fork's merge request from an own one", Example: "true", Default: "false", Pattern: yesNo},
		{Name: "issuer", About: "the URL of the instance", Example: "https://gitlab.example.com", Default: "https://gitlab.com", Pattern: httpsURL},
	},
}

var kubernetesPreset = Preset{
	Name: "kubernetes", About: "service accounts of a Kubernetes cluster whose keys can be fetched (EKS, GKE, AKS, own ones)",
	Source: "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
	Parameters: []Parameter{
		{Name: "issuer", About: "the issuer of the cluster (kubectl get --raw /.well-known/openid-configuration)", Example: "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE", Required: true, Pattern: httpsURL},
		{Name: "namespaces", About: "the namespaces whose service accounts count", Example: "prod,staging", Many: true, Pattern: dnsLabel},
		{Name: "life", About: "the longest life of a token that counts: a deleted account's token works until it ends", Example: "10m", Default: "1h", Pattern: `10m|1h|24h`},
	},
}

const (
	dnsLabel       = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"
)

var inClusterPreset = Preset{
	Name: "kubernetes-in-cluster", About: "service accounts of the Kubernetes cluster that this registry runs in",
	Source: "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
	Parameters: []Parameter{
		{Name: "issuer", About: "the issuer of the cluster (kubectl get --raw /.well-known/openid-configuration)", Example: "https://kubernetes.default.svc.cluster.local", Default: "https://kubernetes.default.svc.cluster.local", Pattern: httpsURL},
		{Name: "namespaces", About: "the namespaces whose service accounts count", Example: "prod,staging", Many: true, Pattern: dnsLabel},
		{Name: "life", About: "the longest life of a token that counts", Example: "10m", Default: "1h", Pattern: `10m|1h|24h`},
		{Name: "review", About: "whether the API server is asked about each token, so that a deleted pod's does not count: the registry's service account then needs the role system:auth-delegator", Example: "true", Default: "false", Pattern: yesNo},
		{Name: "mount", About: "where the service account of the registry is mounted", Example: serviceAccount, Default: serviceAccount, Pattern: `/[A-Za-z0-9._/-]+/`},
	},
}

var buildkitePreset = Preset{
	Name: "buildkite", About: "Buildkite; jobs ask with --claim organization_id --claim pipeline_id; no claim tells a fork's build from an own one",
	Source: "https://buildkite.com/docs/agent/cli/reference/oidc",
	Parameters: []Parameter{
		{Name: "organization_id", About: "the id of the organization", Example: "0184990a-477b-4fa8-9968-496074483cee", Required: true, Pattern: uuid},
		{Name: "pipeline_ids", About: "the ids of the pipelines", Example: "0184990a-4782-42b5-afc1-16715b10b8ff", Many: true, Pattern: uuid},
		{Name: "cluster_ids", About: "the ids of the clusters that a job may run in (it asks with --claim cluster_id)", Example: "0184990a-4777-4b4d-9f0e-1c2d3e4f5a6b", Many: true, Pattern: uuid},
		{Name: "queue_ids", About: "the ids of the queues that a job may run in (it asks with --claim queue_id): one where no fork's build runs", Example: "0184990a-4778-4c5e-8a1b-2d3e4f5a6b7c", Many: true, Pattern: uuid},
	},
}

var circlePreset = Preset{
	Name: "circleci", About: "CircleCI; not jobs that were run again with SSH",
	Source: "https://circleci.com/docs/guides/permissions-authentication/openid-connect-tokens/",
	Parameters: []Parameter{
		{Name: "organization_id", About: "the id of the organization", Example: "3fa85f64-5717-4562-b3fc-2c963f66afa6", Required: true, Pattern: uuid},
		{Name: "origins", About: "the repositories that are built: a fork is another one", Example: "github.com/acme/app", Required: true, Many: true, Pattern: `[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+`},
		{Name: "project_ids", About: "the ids of the projects", Example: "7d8e4d2a-5b1f-4a2a-9a63-6f4a1f2f8d11", Many: true, Pattern: uuid},
	},
}

var googlePreset = Preset{
	Name: "google", About: "service accounts and virtual machines of Google Cloud",
	Source: "https://cloud.google.com/compute/docs/instances/verifying-instance-identity",
	OneOf:  []string{"accounts", "project_numbers"},
	Parameters: []Parameter{
		{Name: "accounts", About: "the unique ids of the service accounts", Example: "107517467455664443766", Many: true, Pattern: number},
		{Name: "project_numbers", About: "the numbers of the projects whose virtual machines count", Example: "739419398126", Many: true, Pattern: number},
	},
}

var azurePreset = Preset{
	Name: "azure", About: "managed identities and applications of Microsoft Entra; not people",
	Source: "https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference",
	Parameters: []Parameter{
		{Name: "tenant", About: "the id of the tenant", Example: "aaaabbbb-0000-cccc-1111-dddd2222eeee", Required: true, Pattern: uuid},
		{Name: "object_ids", About: "the object ids of the identities", Example: "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", Many: true, Pattern: uuid},
		{Name: "version", About: "the version of the tokens that the application is set to accept", Example: "1", Default: "2", Pattern: `1|2`},
	},
}

var awsPreset = Preset{
	Name: "aws", About: "roles of an AWS account that has outbound identity federation enabled",
	Source: "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html",
	Parameters: []Parameter{
		{Name: "issuer", About: "the issuer of the account (aws iam get-outbound-web-identity-federation-info)", Example: "https://1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d.tokens.sts.global.api.aws", Required: true, Pattern: `https://[0-9a-z-]{1,63}\.tokens\.sts\.global\.api\.aws`},
		{Name: "account", About: "the number of the account", Example: "111122223333", Required: true, Pattern: `[0-9]{12}`},
		{Name: "roles", About: "the ARNs of the roles", Example: "arn:aws:iam::111122223333:role/ci", Many: true, Pattern: `arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=.@/-]+`},
	},
}

var spiffePreset = Preset{
	Name: "spiffe", About: "workloads of a SPIFFE trust domain, by JWT-SVID with an issuer",
	Source: "https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md",
	Parameters: []Parameter{
		{Name: "trust_domain", About: "the trust domain", Example: "prod.example.org", Required: true, Pattern: `[a-z0-9._-]{1,255}`},
		{Name: "issuer", About: "what the tokens have as iss (jwt_issuer of SPIRE)", Example: "https://spire.example.org", Required: true, Pattern: httpsURL},
	},
}
