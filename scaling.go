package lambent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Scaling says how the number of instances of a version follows its load. The
// zero value of a member leaves it to the server's configuration.
type Scaling struct {
	Mode        ScaleMode
	Target      float64       // of the mode's measure per instance; see [ScaleMode]
	Utilisation float64       // share of Target that is aimed at, over 0 to 1
	Stable      time.Duration // window of the average that counts in quiet times
	Panic       time.Duration // window of the average that counts in a surge
	Threshold   float64       // a surge wants so many times the ready instances
	UpRate      float64       // one decision multiplies the instances by no more than this
	DownRate    float64       // nor divides them by more than this
	Max         int           // most instances; 0 is no bound of its own
	Initial     int           // instances that the first request after none brings
	DownDelay   time.Duration // fewer are wanted for this long before fewer are kept
	Grace       time.Duration // without a request for this long, none are kept, whatever DownDelay
	Forecast    Switch        // instances for what the history lets expect, too
	Factor      float64       // what is expected is multiplied by this
}

// ScaleMode is what the instances are counted by.
type ScaleMode string

// The modes. Processor and memory are in percent of what an instance has.
const (
	ScaleConcurrency ScaleMode = "concurrency" // requests at the same time, waiting ones included
	ScaleRPS         ScaleMode = "rps"         // requests per second
	ScaleCPU         ScaleMode = "cpu"
	ScaleMemory      ScaleMode = "memory"
)

// Switch is on, off, or left to the configuration by the zero value.
type Switch string

// The positions.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// MaxScale bounds the instances of one version that Scaling may ask for.
const MaxScale = DefaultConcurrency

// scaleMember reads and writes one member by its name.
type scaleMember struct {
	name string
	set  func(s *Scaling, text string) error
	get  func(s *Scaling) string
}

var scaleMembers = []scaleMember{
	choice("mode", func(s *Scaling) *ScaleMode { return &s.Mode }, ScaleConcurrency, ScaleRPS, ScaleCPU, ScaleMemory),
	number("target", func(s *Scaling) *float64 { return &s.Target }, 0.01, 1e6),
	number("utilisation", func(s *Scaling) *float64 { return &s.Utilisation }, 0.05, 1),
	span("stable", func(s *Scaling) *time.Duration { return &s.Stable }, 6*time.Second, time.Hour),
	span("panic", func(s *Scaling) *time.Duration { return &s.Panic }, time.Second, time.Hour),
	number("panic-threshold", func(s *Scaling) *float64 { return &s.Threshold }, 1.1, 1000),
	number("up-rate", func(s *Scaling) *float64 { return &s.UpRate }, 1.1, 1000),
	number("down-rate", func(s *Scaling) *float64 { return &s.DownRate }, 1.1, 1000),
	count("max", func(s *Scaling) *int { return &s.Max }),
	count("initial", func(s *Scaling) *int { return &s.Initial }),
	span("down-delay", func(s *Scaling) *time.Duration { return &s.DownDelay }, time.Millisecond, time.Hour),
	span("grace", func(s *Scaling) *time.Duration { return &s.Grace }, time.Second, 24*time.Hour),
	choice("forecast", func(s *Scaling) *Switch { return &s.Forecast }, On, Off),
	number("factor", func(s *Scaling) *float64 { return &s.Factor }, 0.1, 10),
}

// ScalingNames lists the members as [Scaling.Set] and [Scaling.Texts] name them.
func ScalingNames() []string {
	names := make([]string, len(scaleMembers))
	for i, m := range scaleMembers {
		names[i] = m.name
	}
	return names
}

// Set changes one member; "default" leaves it to the configuration. The error is
// CodeInvalid and says what is wanted.
func (s *Scaling) Set(name, text string) error {
	for _, m := range scaleMembers {
		if m.name != name {
			continue
		}
		err := m.set(s, text)
		if err == nil && s.Stable > 0 && s.Panic > s.Stable {
			err = fmt.Errorf("panic (%s) is longer than stable (%s)", s.Panic, s.Stable)
		}
		if err != nil {
			return Errorf(CodeInvalid, "%s=%s: %w", name, text, err)
		}
		return nil
	}
	return Errorf(CodeInvalid, "there is no setting %q of scaling", name)
}

// Texts is every member that is not left to the configuration, by its name.
func (s Scaling) Texts() map[string]string {
	var texts map[string]string
	for _, m := range scaleMembers {
		if text := m.get(&s); text != "" {
			if texts == nil {
				texts = map[string]string{}
			}
			texts[m.name] = text
		}
	}
	return texts
}

// ParseScaling is the Scaling that has these texts.
func ParseScaling(texts map[string]string) (s Scaling, err error) {
	for _, m := range scaleMembers { // in one order, so that the error is one too
		if text, ok := texts[m.name]; ok {
			if err := s.Set(m.name, text); err != nil {
				return s, err
			}
		}
	}
	for name := range texts {
		if !slices.ContainsFunc(scaleMembers, func(m scaleMember) bool { return m.name == name }) {
			return s, Errorf(CodeInvalid, "there is no setting %q of scaling", name)
		}
	}
	return s, nil
}

// Over is s with other's members where s has none.
func (s Scaling) Over(other Scaling) Scaling {
	for _, m := range scaleMembers {
		if text := m.get(&other); text != "" && m.get(&s) == "" {
			_ = m.set(&s, text) // a text of the member's own
		}
	}
	return s
}

func choice[T ~string](name string, at func(*Scaling) *T, among ...T) scaleMember {
	return scaleMember{name,
		func(s *Scaling, text string) error {
			if text == "default" {
				text = ""
			} else if !slices.Contains(among, T(text)) {
				return fmt.Errorf("want one of %v", among)
			}
			*at(s) = T(text)
			return nil
		},
		func(s *Scaling) string { return string(*at(s)) },
	}
}

func number(name string, at func(*Scaling) *float64, least, most float64) scaleMember {
	return scaleMember{name,
		func(s *Scaling, text string) error {
			f, err := strconv.ParseFloat(text, 64)
			switch {
			case text == "default":
				f = 0
			case err != nil || !(f >= least && f <= most): // so that NaN is refused too
				return fmt.Errorf("want a number from %v to %v", least, most)
			}
			*at(s) = f
			return nil
		},
		func(s *Scaling) string {
			if *at(s) == 0 {
				return ""
			}
			return strconv.FormatFloat(*at(s), 'g', -1, 64)
		},
	}
}

func count(name string, at func(*Scaling) *int) scaleMember {
	return scaleMember{name,
		func(s *Scaling, text string) error {
			n, err := strconv.Atoi(text)
			switch {
			case text == "default":
				n = 0
			case err != nil || n < 1 || n > MaxScale:
				return fmt.Errorf("want a number from 1 to %d", MaxScale)
			}
			*at(s) = n
			return nil
		},
		func(s *Scaling) string {
			if *at(s) == 0 {
				return ""
			}
			return strconv.Itoa(*at(s))
		},
	}
}

func span(name string, at func(*Scaling) *time.Duration, least, most time.Duration) scaleMember {
	return scaleMember{name,
		func(s *Scaling, text string) error {
			d, err := time.ParseDuration(text)
			switch {
			case text == "default":
				d = 0
			case err != nil:
				return errors.New("want a duration such as 90s")
			case d < least || d > most:
				return fmt.Errorf("want a duration from %s to %s", least, most)
			}
			*at(s) = d
			return nil
		},
		func(s *Scaling) string {
			if *at(s) == 0 {
				return ""
			}
			return at(s).String()
		},
	}
}

// MarshalJSON writes what [Scaling.Texts] gives.
func (s Scaling) MarshalJSON() ([]byte, error) {
	texts := s.Texts()
	if texts == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(texts)
}

// UnmarshalJSON reads what [ParseScaling] does.
func (s *Scaling) UnmarshalJSON(text []byte) error {
	var texts map[string]string
	err := json.Unmarshal(text, &texts)
	if err == nil {
		*s, err = ParseScaling(texts)
	}
	return err
}

// DefaultTarget is what an instance is meant to have of the mode's measure, for an
// application that takes so many requests at the same time.
func (m ScaleMode) DefaultTarget(concurrency int) float64 {
	switch m {
	case ScaleRPS:
		return 200
	case ScaleCPU, ScaleMemory:
		return 100
	}
	return math.Max(1, float64(concurrency))
}
