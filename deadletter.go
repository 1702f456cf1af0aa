package lambent

import "encoding/json"

// deadLetterConfig is the member of a version's configuration, as on AWS, that names
// where the events of its failed calls go. Everything else about its events is an
// [EventConfig] beside it.
const deadLetterConfig = "DeadLetterConfig"

// deadLetter is its shape.
type deadLetter struct{ TargetArn string }

// DeadLetter is the version's dead-letter queue or topic; its ARN is empty where there
// is none.
func (v *Version) DeadLetter() Destination {
	var d deadLetter
	_ = json.Unmarshal(v.Extra[deadLetterConfig], &d) // absent, or not to be read any more, is none
	return Destination{ARN: d.TargetArn}
}

// SetDeadLetter changes it, in a version that is the caller's own; without an ARN it is
// taken back.
func (v *Version) SetDeadLetter(to Destination) {
	delete(v.Extra, deadLetterConfig)
	if to.ARN == "" {
		return
	}
	if v.Extra == nil {
		v.Extra = map[string][]byte{}
	}
	v.Extra[deadLetterConfig], _ = json.Marshal(deadLetter{to.ARN}) // strings always encode
}
