// The histograms of real calls where Palisade counts them itself and hands them to the reader (U5), as Prometheus sees them.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { metricProducer } from "../../src/observability/metric-producer.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { type Scraper, startScraper } from "../harness/scrape.ts";
import { eventually, secured } from "../harness/secured.ts";

const producer = metricProducer();
let scraper: Scraper;
beforeEach(async () => {
  scraper = await startScraper(producer);
});
afterEach(() => scraper.shutdown());

const bytes = (text: string): number => JSON.stringify({ text }).length;

describe("U5 with metricProducer", () => {
  it.each(kinds)("%s: durations and sizes are read from it, all else from the SDK", async (kind) => {
    await using wall = await secured();
    const client = wall.client();
    const method = paths[kind].slice(1);
    const { messages } = await invoke(client, kind, {
      metadata: await wall.authorized(),
      messages: [{ text: "one" }],
    });
    const refused = await invoke(client, kind, { messages: [{ text: "one" }] });
    expect(refused.name).toBe("UNAUTHENTICATED");
    await eventually(() => wall.lines.filter((line) => line["grpc_code"]).length >= 2, "both calls' lines");
    const ok = { grpc_method: method, grpc_status: "OK" };
    const stranger = { grpc_method: method, grpc_status: "UNAUTHENTICATED" };
    expect(await scraper.value("grpc_server_call_duration_count", ok)).toBe(1);
    expect(await scraper.value("grpc_server_call_duration_sum", ok)).toBeGreaterThan(0);
    expect(await scraper.value("grpc_server_call_duration_count", stranger)).toBe(1);
    expect(await scraper.value("grpc_server_call_rcvd_total_compressed_message_size_sum", ok)).toBe(
      bytes("one"),
    );
    expect(await scraper.value("grpc_server_call_sent_total_compressed_message_size_sum", ok)).toBe(
      messages.reduce((sum, { text }) => sum + bytes(text), 0),
    );
    expect(await scraper.value("grpc_server_call_started_total", { grpc_method: method })).toBe(2);
    // Once: not by the SDK as well.
    const durations = (await scraper.samples()).filter(
      ({ name, labels }) =>
        name === "grpc_server_call_duration_count" &&
        labels["grpc_method"] === method &&
        labels["grpc_status"] === "OK",
    );
    expect(durations).toHaveLength(1);
  });
});
