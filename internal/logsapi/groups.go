package logsapi

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/logs"
)

// pageSize is the most that DescribeLogGroups and DescribeLogStreams return.
const pageSize = 50

// empty is the answer of operations that have none.
type empty struct{}

// reference is how a request names its log group.
type reference struct {
	LogGroupName       string `json:"logGroupName"`
	LogGroupIdentifier string `json:"logGroupIdentifier"`
}

// name gives the group's name; an identifier is a name or an ARN.
func (g reference) name() (string, error) {
	switch {
	case g.LogGroupName != "" && g.LogGroupIdentifier != "":
		return "", invalid("LogGroup name and LogGroup identifier cannot both be specified.")
	case g.LogGroupName != "":
		return g.LogGroupName, nil
	case g.LogGroupIdentifier == "":
		return "", invalid("1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null")
	}
	return groupName(g.LogGroupIdentifier), nil
}

// readNamed decodes a request that is about one log group, and finds its name.
func readNamed[T interface{ name() (string, error) }](body []byte) (in T, name string, err error) {
	if err = decode(body, &in); err == nil {
		name, err = in.name()
	}
	return in, name, err
}

// groupName is the name in an identifier of a log group.
func groupName(identifier string) string {
	if _, name, ok := strings.Cut(identifier, ":log-group:"); ok {
		return strings.TrimSuffix(name, ":*")
	}
	return identifier
}

func (c caller) groupARN(name string) string {
	return "arn:aws:logs:" + c.region + ":" + c.namespace + ":log-group:" + name
}

func (d *door) createLogGroup(ctx context.Context, c caller, body []byte) (any, error) {
	type input struct {
		reference
		Tags map[string]string `json:"tags"`
	}
	in, name, err := readNamed[input](body)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.CreateGroup(ctx, c.namespace, name, in.Tags)
}

func (d *door) deleteLogGroup(ctx context.Context, c caller, body []byte) (any, error) {
	_, name, err := readNamed[reference](body)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.DeleteGroup(ctx, c.namespace, name)
}

func (d *door) putRetentionPolicy(ctx context.Context, c caller, body []byte) (any, error) {
	type input struct {
		reference
		RetentionInDays int `json:"retentionInDays"`
	}
	in, name, err := readNamed[input](body)
	if err != nil {
		return nil, err
	}
	if in.RetentionInDays <= 0 {
		return nil, invalid("retentionInDays must be a number of days.")
	}
	return empty{}, d.o.Groups.SetRetention(ctx, c.namespace, name, in.RetentionInDays)
}

func (d *door) deleteRetentionPolicy(ctx context.Context, c caller, body []byte) (any, error) {
	_, name, err := readNamed[reference](body)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.SetRetention(ctx, c.namespace, name, 0)
}

// groupOut is LogGroup of the API.
type groupOut struct {
	LogGroupName      string `json:"logGroupName"`
	CreationTime      int64  `json:"creationTime"`
	RetentionInDays   int    `json:"retentionInDays,omitempty"`
	MetricFilterCount int    `json:"metricFilterCount"`
	ARN               string `json:"arn"`
	StoredBytes       int64  `json:"storedBytes"`
	LogGroupClass     string `json:"logGroupClass"`
	LogGroupARN       string `json:"logGroupArn"`
}

type groupsOut struct {
	LogGroups []groupOut `json:"logGroups"`
	NextToken string     `json:"nextToken,omitempty"`
}

func (d *door) describeLogGroups(ctx context.Context, c caller, body []byte) (any, error) {
	var in struct {
		LogGroupNamePrefix  string `json:"logGroupNamePrefix"`
		LogGroupNamePattern string `json:"logGroupNamePattern"`
		// LogGroupIdentifiers are names or ARNs of the only groups that are wanted.
		LogGroupIdentifiers []string `json:"logGroupIdentifiers"`
		NextToken           string   `json:"nextToken"`
		Limit               *int     `json:"limit"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	limit, err := limitOf(in.Limit, pageSize, pageSize)
	if err != nil {
		return nil, err
	}
	if in.LogGroupNamePrefix != "" && in.LogGroupNamePattern != "" {
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	list, err := d.o.Reader.Groups(ctx, c.namespace, in.LogGroupNamePrefix)
	if err != nil {
		return nil, err
	}
	if wanted := in.LogGroupIdentifiers; wanted != nil {
		list = slices.DeleteFunc(list, func(g logs.Group) bool {
			return !slices.ContainsFunc(wanted, func(id string) bool { return groupName(id) == g.Name })
		})
	}
	out := groupsOut{LogGroups: []groupOut{}}
	for _, g := range list {
		if g.Name <= in.NextToken || !strings.Contains(strings.ToLower(g.Name), strings.ToLower(in.LogGroupNamePattern)) {
			continue
		}
		if len(out.LogGroups) == limit {
			out.NextToken = out.LogGroups[limit-1].LogGroupName
			break
		}
		arn := c.groupARN(g.Name)
		out.LogGroups = append(out.LogGroups, groupOut{
			LogGroupName: g.Name, CreationTime: g.Created.UnixMilli(), RetentionInDays: g.RetentionDays,
			ARN: arn + ":*", StoredBytes: g.Bytes, LogGroupClass: "STANDARD", LogGroupARN: arn,
		})
	}
	return out, nil
}

// limitOf reads an optional limit of 1 to most.
func limitOf(limit *int, most, normal int) (int, error) {
	if limit == nil {
		return normal, nil
	}
	if *limit < 1 || *limit > most {
		return 0, invalid("1 validation error detected: Value '" + strconv.Itoa(*limit) +
			"' at 'limit' failed to satisfy constraint: Member must have a value between 1 and " + strconv.Itoa(most))
	}
	return *limit, nil
}

// streamOut is LogStream of the API.
type streamOut struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   int64  `json:"lastIngestionTime,omitempty"`
	UploadSequenceToken string `json:"uploadSequenceToken"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"`
}

type streamsOut struct {
	LogStreams []streamOut `json:"logStreams"`
	NextToken  string      `json:"nextToken,omitempty"`
}

// streamsIn is the request of DescribeLogStreams.
type streamsIn struct {
	reference
	LogStreamNamePrefix string `json:"logStreamNamePrefix"`
	OrderBy             string `json:"orderBy"`
	Descending          bool   `json:"descending"`
	NextToken           string `json:"nextToken"`
	Limit               *int   `json:"limit"`
}

func (d *door) describeLogStreams(ctx context.Context, c caller, body []byte) (any, error) {
	in, group, err := readNamed[streamsIn](body)
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(in.Limit, pageSize, pageSize)
	if err != nil {
		return nil, err
	}
	list, err := d.o.Reader.Streams(ctx, c.namespace, group, in.LogStreamNamePrefix)
	if err != nil {
		return nil, err
	}
	if err := in.sort(list); err != nil {
		return nil, err
	}
	out := streamsOut{LogStreams: []streamOut{}}
	// The position in the order, by name: names do not repeat.
	if in.NextToken != "" {
		at := slices.IndexFunc(list, func(s logs.StreamInfo) bool { return s.Name == in.NextToken })
		if at < 0 {
			return nil, invalid("The specified nextToken is invalid.")
		}
		list = list[at+1:]
	}
	if len(list) > limit {
		list = list[:limit]
		out.NextToken = list[limit-1].Name
	}
	for _, s := range list {
		o := streamOut{LogStreamName: s.Name, CreationTime: s.Created.UnixMilli(), ARN: c.groupARN(group) + ":log-stream:" + s.Name}
		if !s.Last.IsZero() {
			o.FirstEventTimestamp, o.LastEventTimestamp = s.First.UnixMilli(), s.Last.UnixMilli()
			o.LastIngestionTime = o.LastEventTimestamp
		}
		o.UploadSequenceToken = strconv.FormatInt(o.LastEventTimestamp, 10)
		out.LogStreams = append(out.LogStreams, o)
	}
	return out, nil
}

// sort puts streams in the order that was asked for.
func (in streamsIn) sort(list []logs.StreamInfo) error {
	less := func(a, b logs.StreamInfo) int { return strings.Compare(a.Name, b.Name) }
	switch in.OrderBy {
	case "", "LogStreamName":
	case "LastEventTime":
		if in.LogStreamNamePrefix != "" {
			return invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
		}
		less = func(a, b logs.StreamInfo) int {
			return cmp.Or(a.Last.Compare(b.Last), strings.Compare(a.Name, b.Name))
		}
	default:
		return invalid("1 validation error detected: Value '" + in.OrderBy +
			"' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]")
	}
	if in.Descending {
		up := less
		less = func(a, b logs.StreamInfo) int { return up(b, a) }
	}
	slices.SortFunc(list, less)
	return nil
}

// timeOf is an optional time in milliseconds.
func timeOf(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms)
}
