package async

import "container/heap"

// ranked is what can be in a queue: it keeps its own place there, which is -1
// outside.
type ranked interface{ place() *int }

// queue is a heap whose members can be moved and taken out.
type queue[T ranked] struct {
	items []T
	less  func(a, b T) bool
}

func (q *queue[T]) Len() int           { return len(q.items) }
func (q *queue[T]) Less(i, j int) bool { return q.less(q.items[i], q.items[j]) }

func (q *queue[T]) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	*q.items[i].place(), *q.items[j].place() = i, j
}

// Push implements heap.Interface.
func (q *queue[T]) Push(x any) {
	*x.(T).place() = len(q.items)
	q.items = append(q.items, x.(T))
}

// Pop implements heap.Interface.
func (q *queue[T]) Pop() any {
	last := len(q.items) - 1
	x := q.items[last]
	var none T
	q.items[last] = none
	q.items = q.items[:last]
	*x.place() = -1
	return x
}

// put adds x, or moves it to where it belongs now.
func (q *queue[T]) put(x T) {
	if at := *x.place(); at >= 0 {
		heap.Fix(q, at)
		return
	}
	heap.Push(q, x)
}

// drop takes x out, if it is in.
func (q *queue[T]) drop(x T) {
	if at := *x.place(); at >= 0 {
		heap.Remove(q, at)
	}
}

// first is the least member; ok is false when there is none.
func (q *queue[T]) first() (x T, ok bool) {
	if len(q.items) == 0 {
		return x, false
	}
	return q.items[0], true
}
