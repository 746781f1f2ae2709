package service

import (
	"context"
	"slices"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/systemd"
)

// Explain says what Launch would do with the same parameters, or why it would
// refuse them. Nothing is started.
func (c *Core) Explain(ctx context.Context, caller Caller, p interfaces.LaunchParameters) (interfaces.ExplainReply, error) {
	j, about, err := c.decide(ctx, caller, actionInspect, p)
	c.note(caller, "Explain", about, err)
	if err != nil {
		return interfaces.ExplainReply{}, err
	}
	reply := interfaces.ExplainReply{
		ID:      j.id.String(),
		Unit:    j.id.Unit(),
		Image:   j.decision.Profile.Image,
		Command: slices.Concat(j.decision.Profile.Command, p.Arguments),
		Rules:   j.decision.Rules,

		EngineCommand: j.engine.Command(j.document),
	}
	fields, err := j.document.Fields()
	if err != nil {
		return interfaces.ExplainReply{}, err
	}
	for _, field := range fields {
		reply.Document = append(reply.Document, interfaces.UnitProperty{Name: field[0], Value: field[1]})
	}
	for _, property := range j.properties {
		reply.Properties = append(reply.Properties, interfaces.UnitProperty{
			Name: property.Name, Value: systemd.Format(property),
		})
	}
	return reply, nil
}
