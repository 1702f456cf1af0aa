package iam

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"time"
)

// amazonText are the policies of AWS's own that are known here (AWS Managed Policy
// Reference).
//
//go:embed amazon.json
var amazonText []byte

// amazonSince is the date that they bear, for want of another.
var amazonSince = time.Date(2015, 4, 9, 0, 0, 0, 0, time.UTC)

// readAmazon reads those policies, by their ARNs.
func readAmazon() (map[string]*policyEntry, error) {
	var list []struct {
		Path, Name, Description string
		Document                json.RawMessage
	}
	if err := json.Unmarshal(amazonText, &list); err != nil {
		return nil, fmt.Errorf("read the policies of AWS's own: %w", err)
	}
	out := make(map[string]*policyEntry, len(list))
	for _, one := range list {
		id := sha256.Sum256([]byte(one.Name)) // the same whenever it is asked for
		e, err := newPolicyEntry(&Policy{
			Namespace: amazon, Path: one.Path, Name: one.Name, Description: one.Description,
			ID: "ANPA" + base32.StdEncoding.EncodeToString(id[:])[:17], Created: amazonSince, Updated: amazonSince,
			Versions: []Version{{Number: 1, Document: string(one.Document), Created: amazonSince}}, Default: 1, Last: 1,
		})
		if err != nil {
			return nil, fmt.Errorf("read the policy %s of AWS's own: %w", one.Name, err)
		}
		out[e.arn] = e
	}
	return out, nil
}
