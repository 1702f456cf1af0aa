package store

import "context"

// old is a job that TrimJobs looks at.
type old struct {
	seq, lane, ended, bytes int64
	labels                  string
}

// trim forgets a part of what ended before the given time, or is too much.
func (w *writer) trim(ctx context.Context, before, maxBytes int64) (n int, err error) {
	list, err := w.oldest(ctx)
	if err != nil {
		return 0, err
	}
	lanes := map[int64]bool{}
	for _, o := range list {
		if o.ended >= before && (maxBytes == 0 || w.counts.ended <= maxBytes) {
			break
		}
		if err := w.drop(ctx, o); err != nil {
			return 0, err
		}
		w.counts.ended -= o.bytes
		lanes[o.lane] = true
		n++
	}
	for id := range lanes {
		if err := w.collect(ctx, id); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (w *writer) oldest(ctx context.Context) ([]old, error) {
	rows, err := w.stmts[oldSQL].QueryContext(ctx, trimPart)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	var list []old
	for rows.Next() {
		var o old
		if err := rows.Scan(&o.seq, &o.lane, &o.ended, &o.bytes, &o.labels); err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

func (w *writer) drop(ctx context.Context, o old) error {
	labels, err := parseLabels(o.labels)
	if err != nil {
		return err
	}
	for name, value := range labels {
		if err := w.exec(ctx, dropLabelSQL, name, value, o.seq); err != nil {
			return err
		}
	}
	for _, text := range []string{dropBodySQL, dropResultSQL, dropSQL} {
		if err := w.exec(ctx, text, o.seq); err != nil {
			return err
		}
	}
	return nil
}
